-- STRICT: a sum that left the 64-bit integers would be an error, never a rounded float.
-- Accounts: what is posted, held by open requests, and posted beyond what was held (nano-USD, or
-- tokens or requests where the name of the account says so).
CREATE TABLE IF NOT EXISTS account (
    account      TEXT PRIMARY KEY,
    posted_nano  INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano >= 0),
    held_nano    INTEGER NOT NULL DEFAULT 0 CHECK (held_nano >= 0),
    overrun_nano INTEGER NOT NULL DEFAULT 0 CHECK (overrun_nano >= 0)
) STRICT, WITHOUT ROWID;

-- Open holds only. `draft` is the event as known at dispatch; `accounts` is a JSON array of names,
-- `parties` one of organisation, team, key, workflow and run (empty for a run of one request), and
-- behind them, as far as there are any, parent runs, user, tags and model.
-- `amounts` is what is held on each of `accounts`; NULL where it is `amount_nano` on all.
-- Found by slot, without an index of ids: whoever writes knows all open holds, and each page that a
-- commit touches is written to the log.
CREATE TABLE IF NOT EXISTS hold (
    slot           INTEGER PRIMARY KEY,
    hold_id        TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('held', 'dispatched')),
    amount_nano    INTEGER NOT NULL CHECK (amount_nano >= 0),
    accounts       TEXT NOT NULL,
    admitted_ms    INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    draft          BLOB,
    parties        TEXT,
    amounts        TEXT
) STRICT;

-- Every ending of a hold, every correction, and what a new budget found spent (`opening:ACCOUNT|N`);
-- rows are only ever added. `postings` is what each of `accounts` took, [posted, overrun]; NULL where
-- it is `posted_nano` and `overrun_nano` on all. `tokens` is what the request used, where it is known.
CREATE TABLE IF NOT EXISTS entry (
    hold_id      TEXT NOT NULL,
    correction   INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL,
    posted_nano  INTEGER NOT NULL,
    overrun_nano INTEGER NOT NULL,
    accounts     TEXT NOT NULL,
    event_id     TEXT,
    ended_ms     INTEGER NOT NULL,
    parties      TEXT,
    admitted_ms  INTEGER NOT NULL DEFAULT 0,
    postings     TEXT,
    tokens       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hold_id, correction)
) STRICT, WITHOUT ROWID;

-- Budgets that missed nothing of what was spent in their window.
CREATE TABLE IF NOT EXISTS counting (
    budget TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Events the warehouse does not hold yet, in the order of `seq`, which only ever grows.
CREATE TABLE IF NOT EXISTS outbox (
    seq      INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    payload  BLOB NOT NULL
) STRICT;
