-- The fourth version: what keys have made with providers. A file, a batch or a stored response is there for the key that made it
-- and, with the provider, only on the account that it was made through. Nothing of what is in it is kept here.

CREATE TABLE objects (
    key_hash TEXT NOT NULL CHECK (length(key_hash) = 64),
    id TEXT NOT NULL CHECK (length(id) BETWEEN 1 AND 256),
    kind TEXT NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    created INTEGER NOT NULL CHECK (typeof(created) = 'integer' AND created BETWEEN 0 AND 9999999999999999),
    PRIMARY KEY (key_hash, id)
) WITHOUT ROWID;

CREATE INDEX objects_by_kind ON objects (key_hash, kind, created, id);
CREATE INDEX objects_by_age ON objects (kind, created);
CREATE INDEX objects_by_id ON objects (id);
