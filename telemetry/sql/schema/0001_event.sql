-- What the collector writes. The columns of `event` are the fields of `TelemetryEvent`, in order.
--
-- `event_id` is unique by the way rows are written (see ingest.py), and the audit counts it. There is
-- no primary key: its index stays in memory as a whole and grows with every event ever stored.
-- Measures in milliseconds and scores may be unknown (NULL); nothing else may.

-- Grain: one row per event.
CREATE TABLE event (
    event_id            VARCHAR NOT NULL,
    schema_version      BIGINT NOT NULL,
    kind                VARCHAR NOT NULL,
    request_id          VARCHAR NOT NULL,
    admitted_ms         BIGINT NOT NULL,
    ended_ms            BIGINT NOT NULL,
    org                 VARCHAR NOT NULL,
    team                VARCHAR NOT NULL,
    key_id              VARCHAR NOT NULL,
    workflow            VARCHAR NOT NULL,
    run_id              VARCHAR NOT NULL,
    run_source          VARCHAR NOT NULL,
    route               VARCHAR NOT NULL,
    streamed            BOOLEAN NOT NULL,
    requested_model     VARCHAR NOT NULL,
    policy              VARCHAR NOT NULL,
    task                VARCHAR NOT NULL,
    difficulty          DOUBLE,
    tier                VARCHAR NOT NULL,
    model               VARCHAR NOT NULL,
    provider            VARCHAR NOT NULL,
    upstream_model      VARCHAR NOT NULL,
    reason              VARCHAR NOT NULL,
    classification_json VARCHAR NOT NULL,
    decision_json       VARCHAR NOT NULL,
    ending              VARCHAR NOT NULL,
    status              BIGINT NOT NULL,
    error_code          VARCHAR NOT NULL,
    usage_source        VARCHAR NOT NULL,
    fresh_tokens        BIGINT NOT NULL,
    cached_tokens       BIGINT NOT NULL,
    cache_write_tokens  BIGINT NOT NULL,
    audio_input_tokens  BIGINT NOT NULL,
    output_tokens       BIGINT NOT NULL,
    reasoning_tokens    BIGINT NOT NULL,
    audio_output_tokens BIGINT NOT NULL,
    reserved_nano       BIGINT NOT NULL,
    cost_nano           BIGINT NOT NULL,
    input_cost_nano     BIGINT NOT NULL,
    output_cost_nano    BIGINT NOT NULL,
    overrun_nano        BIGINT NOT NULL,
    frontier_cost_nano  BIGINT NOT NULL,
    price_version       VARCHAR NOT NULL,
    first_byte_ms       DOUBLE,
    total_ms            DOUBLE,
    gateway_ms          DOUBLE,
    attempts            BIGINT NOT NULL,
    upstream_request_id VARCHAR NOT NULL,
    tags_json           VARCHAR NOT NULL
);

-- Grain: one row per outbox that is collected. Written in the transaction of the batch it ends.
CREATE TABLE collector_state (
    source   VARCHAR PRIMARY KEY,
    last_seq BIGINT NOT NULL
);

-- Grain: one row per outbox row that is no event. Kept byte for byte, because it may explain money.
CREATE TABLE quarantine (
    source  VARCHAR NOT NULL,
    seq     BIGINT NOT NULL,
    payload BLOB NOT NULL,
    error   VARCHAR NOT NULL,
    at_ms   BIGINT NOT NULL
);
