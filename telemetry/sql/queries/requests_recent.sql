-- question: Which requests came last, and why did each go where it went?
-- grain: one row per request, latest first
-- parameters: from_ms, to_ms, limit
SELECT
    request_id,
    admitted_ms,
    org,
    team,
    key_id,
    workflow,
    run_id,
    requested_model,
    policy,
    task,
    difficulty,
    tier,
    model,
    provider,
    reason,
    basis,
    ending,
    status,
    error_code,
    input_tokens,
    all_output_tokens AS output_tokens,
    cost_nano,
    frontier_cost_nano,
    first_byte_ms,
    total_ms,
    attempts
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
ORDER BY admitted_ms DESC, request_id
LIMIT $limit
