-- A ledger of the first schema as the version that wrote it left it: three requests, and a row in quarantine.
BEGIN TRANSACTION;
CREATE TABLE quarantine (
    number INTEGER PRIMARY KEY,
    found TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    reason TEXT NOT NULL,
    record BLOB NOT NULL UNIQUE
);
INSERT INTO "quarantine" VALUES(1,'2026-11-20T14:37:59Z','''req_00000000000000000000000004'': CHECK constraint failed: typeof(status) = ''integer'' AND status BETWEEN 0 AND 999',X'28277265715F3030303030303030303030303030303030303030303030303034272C202763686174636D706C2D34272C20313739353030303030303030303030342C202761616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161272C2027746573746572272C204E6F6E652C20276B65793A746573746572272C20272F76312F636861742F636F6D706C6574696F6E73272C202763686174272C2027736D617274272C2027736D617274272C20276D272C20277570272C20277570272C2039393939392C204E6F6E652C20547275652C20312C2031302C20302C20302C20302C20352C20302C20302C20302C20302C204E6F6E652C2046616C73652C20372C20392C20313030302C20302C20302C204E6F6E652C204E6F6E652C204E6F6E652C204E6F6E6529');
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE CHECK (length(request_id) BETWEEN 1 AND 64),
    answer_id TEXT CHECK (length(answer_id) <= 256),
    started INTEGER NOT NULL CHECK (typeof(started) = 'integer' AND started BETWEEN 0 AND 9999999999999999),
    key_hash TEXT NOT NULL CHECK (length(key_hash) = 64),
    key_name TEXT NOT NULL,
    team TEXT,
    wallet_id TEXT NOT NULL,
    route TEXT NOT NULL CHECK (length(route) <= 256),
    dialect TEXT NOT NULL,
    model_asked TEXT CHECK (length(model_asked) <= 256),
    model TEXT CHECK (length(model) <= 256),
    upstream_model TEXT CHECK (length(upstream_model) <= 256),
    provider TEXT,
    account TEXT,
    status INTEGER NOT NULL CHECK (typeof(status) = 'integer' AND status BETWEEN 0 AND 999),
    error_type TEXT,
    stream INTEGER NOT NULL CHECK (stream IN (0, 1)),
    attempts INTEGER NOT NULL CHECK (typeof(attempts) = 'integer' AND attempts BETWEEN 0 AND 1000),
    input_tokens INTEGER NOT NULL CHECK (typeof(input_tokens) = 'integer' AND input_tokens BETWEEN 0 AND 10000000000),
    cache_read_tokens INTEGER NOT NULL CHECK (typeof(cache_read_tokens) = 'integer' AND cache_read_tokens BETWEEN 0 AND 10000000000),
    cache_write_tokens INTEGER NOT NULL CHECK (typeof(cache_write_tokens) = 'integer' AND cache_write_tokens BETWEEN 0 AND 10000000000),
    cache_write_1h_tokens INTEGER NOT NULL CHECK (typeof(cache_write_1h_tokens) = 'integer' AND cache_write_1h_tokens BETWEEN 0 AND 10000000000),
    output_tokens INTEGER NOT NULL CHECK (typeof(output_tokens) = 'integer' AND output_tokens BETWEEN 0 AND 10000000000),
    reasoning_tokens INTEGER NOT NULL CHECK (typeof(reasoning_tokens) = 'integer' AND reasoning_tokens BETWEEN 0 AND 10000000000),
    audio_input_tokens INTEGER NOT NULL CHECK (typeof(audio_input_tokens) = 'integer' AND audio_input_tokens BETWEEN 0 AND 10000000000),
    audio_output_tokens INTEGER NOT NULL CHECK (typeof(audio_output_tokens) = 'integer' AND audio_output_tokens BETWEEN 0 AND 10000000000),
    searches INTEGER NOT NULL CHECK (typeof(searches) = 'integer' AND searches BETWEEN 0 AND 10000000000),
    service_tier TEXT CHECK (length(service_tier) <= 256),
    estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    cost_micro INTEGER NOT NULL CHECK (typeof(cost_micro) = 'integer' AND cost_micro BETWEEN 0 AND 10000000000),
    price_micro INTEGER NOT NULL CHECK (typeof(price_micro) = 'integer' AND price_micro BETWEEN 0 AND 10000000000),
    duration_us INTEGER NOT NULL CHECK (typeof(duration_us) = 'integer'),
    queue_us INTEGER NOT NULL,
    connect_us INTEGER NOT NULL,
    first_content_us INTEGER,
    upstream_request_id TEXT CHECK (length(upstream_request_id) <= 256),
    client_request_id TEXT,
    trace_id TEXT
);
INSERT INTO "requests" VALUES(1,'req_00000000000000000000000001','chatcmpl-1',1795000000000001,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','tester',NULL,'key:tester','/v1/chat/completions','chat','smart','smart','m','up','up',200,NULL,1,1,10,0,0,0,5,0,0,0,0,NULL,0,7,9,1000,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "requests" VALUES(2,'req_00000000000000000000000002','chatcmpl-2',1795000000000002,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','other','red','team:red','/v1/chat/completions','chat','smart','smart','m','up','up',200,NULL,1,1,10,0,0,0,5,0,0,0,0,NULL,0,7,1250000,1000,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "requests" VALUES(3,'req_00000000000000000000000003','chatcmpl-3',1795000000000003,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','tester',NULL,'key:tester','/v1/chat/completions','chat','smart','smart','m','up','up',502,'server_error',1,1,10,0,0,0,5,0,0,0,0,NULL,0,7,0,1000,0,0,NULL,NULL,NULL,NULL);
CREATE TABLE standing (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    segment INTEGER NOT NULL,
    byte INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    folded_until TEXT NOT NULL,
    clean INTEGER NOT NULL
);
INSERT INTO "standing" VALUES(1,1,1248,4,'1970-01-01',1);
CREATE TABLE usage_daily (
    day TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    key_name TEXT NOT NULL,
    team TEXT NOT NULL,
    wallet_id TEXT NOT NULL,
    model_asked TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    searches INTEGER NOT NULL,
    cost_micro INTEGER NOT NULL,
    price_micro INTEGER NOT NULL,
    PRIMARY KEY (key_hash, day, key_name, team, wallet_id, model_asked, model, upstream_model, provider, account)
) WITHOUT ROWID;
INSERT INTO "usage_daily" VALUES('2026-11-18','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','other','red','team:red','smart','smart','m','up','up',1,0,0,10,0,0,0,5,0,0,7,1250000);
INSERT INTO "usage_daily" VALUES('2026-11-18','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','tester','','key:tester','smart','smart','m','up','up',2,1,0,20,0,0,0,10,0,0,14,9);
CREATE INDEX requests_by_key ON requests (key_hash);
CREATE INDEX requests_by_answer ON requests (answer_id) WHERE answer_id IS NOT NULL;
CREATE INDEX usage_by_day ON usage_daily (day);
CREATE VIEW requests_v1 AS
SELECT
    number, -- in the order in which they ended; grows, so an export can go on where the last one stopped
    request_id,
    answer_id,
    strftime('%Y-%m-%dT%H:%M:%S', started / 1000000, 'unixepoch')
    || printf('.%06dZ', started % 1000000) AS started_at,
    key_hash,
    key_name,
    team,
    wallet_id,
    route,
    dialect,
    model_asked,
    model,
    upstream_model,
    provider,
    account,
    status,
    error_type,
    stream,
    attempts,
    input_tokens,
    cache_read_tokens,
    cache_write_tokens,
    cache_write_1h_tokens,
    output_tokens,
    reasoning_tokens,
    audio_input_tokens,
    audio_output_tokens,
    searches,
    service_tier,
    estimated,
    cost_micro,
    price_micro,
    duration_us,
    queue_us,
    connect_us,
    first_content_us,
    upstream_request_id,
    client_request_id,
    trace_id
FROM requests;
CREATE VIEW usage_daily_v1 AS
SELECT
    day,
    key_hash,
    key_name,
    team,
    wallet_id,
    model_asked,
    model,
    upstream_model,
    provider,
    account,
    requests,
    failed,
    estimated,
    input_tokens,
    cache_read_tokens,
    cache_write_tokens,
    cache_write_1h_tokens,
    output_tokens,
    reasoning_tokens,
    searches,
    cost_micro,
    price_micro
FROM usage_daily;
COMMIT;
PRAGMA user_version = 1;
