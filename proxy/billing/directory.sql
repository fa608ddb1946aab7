-- The second version: keys, teams and credits. Moments are microseconds since 1970, amounts micro-USD. Options are a JSON
-- object of what proxy.billing.options knows; what is absent has its default.

CREATE TABLE teams (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    options TEXT NOT NULL,
    created INTEGER NOT NULL CHECK (typeof(created) = 'integer')
) WITHOUT ROWID;

-- id is what requests have as key_hash: the hash that opened the key first, which it keeps when it is rotated. A name is kept
-- by a key that was revoked: its wallet and its requests go by it.
CREATE TABLE keys (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 64 AND id NOT GLOB '*[^0-9a-f]*'),
    options TEXT NOT NULL,
    created INTEGER NOT NULL CHECK (typeof(created) = 'integer'),
    revoked INTEGER CHECK (typeof(revoked) IN ('integer', 'null'))
) WITHOUT ROWID;

-- The hashes that open a key, or did: until is null for the one that does, and for the others when they stop or stopped.
-- prefix and last_four are all that is kept of a key as text, and of one that came as a hash not even they.
CREATE TABLE key_hashes (
    hash TEXT PRIMARY KEY CHECK (length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*'),
    key_name TEXT NOT NULL REFERENCES keys (name),
    prefix TEXT CHECK (length(prefix) <= 24),
    last_four TEXT CHECK (length(last_four) = 4),
    created INTEGER NOT NULL CHECK (typeof(created) = 'integer'),
    until INTEGER CHECK (typeof(until) IN ('integer', 'null'))
) WITHOUT ROWID;

CREATE UNIQUE INDEX key_hashes_current ON key_hashes (key_name) WHERE until IS NULL;

-- What was paid in, or taken back. The same ref is booked once for each wallet; the null of who gives none is no ref.
CREATE TABLE credits (
    number INTEGER PRIMARY KEY,
    wallet_id TEXT NOT NULL,
    amount_micro INTEGER NOT NULL CHECK (typeof(amount_micro) = 'integer' AND amount_micro <> 0),
    at INTEGER NOT NULL CHECK (typeof(at) = 'integer'),
    note TEXT CHECK (length(note) <= 256),
    ref TEXT CHECK (length(ref) BETWEEN 1 AND 128),
    UNIQUE (wallet_id, ref)
);

-- Who changed what, when and through what, in the transaction that did it. The audit holds credits against it.
CREATE TABLE changes (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL CHECK (typeof(at) = 'integer'),
    through TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    amount_micro INTEGER CHECK (typeof(amount_micro) IN ('integer', 'null')),
    detail TEXT NOT NULL
);
