-- The second version: what of a request's price came out of the credit of its key and of its team, which is what an allowance did not
-- cover. NULL in what an earlier version wrote. Kept with the request, since a wallet's terms may be others tomorrow.

ALTER TABLE requests ADD COLUMN key_drawn_micro INTEGER CHECK (key_drawn_micro IS NULL OR typeof(key_drawn_micro) = 'integer' AND key_drawn_micro BETWEEN 0 AND 10000000000);
ALTER TABLE requests ADD COLUMN team_drawn_micro INTEGER CHECK (team_drawn_micro IS NULL OR typeof(team_drawn_micro) = 'integer' AND team_drawn_micro BETWEEN 0 AND 10000000000);
ALTER TABLE usage_daily ADD COLUMN key_drawn_micro INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_daily ADD COLUMN team_drawn_micro INTEGER NOT NULL DEFAULT 0;

DROP VIEW requests_v1;
DROP VIEW usage_daily_v1;

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
    trace_id,
    key_drawn_micro,
    team_drawn_micro
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
    price_micro,
    key_drawn_micro,
    team_drawn_micro
FROM usage_daily;
