-- question: Who was tried for this request, what came of it, and what did each attempt cost?
-- grain: one row per attempt, in order
-- parameters: request_id
SELECT
    attempt,
    model,
    provider,
    upstream_model,
    status,
    fault,
    waited_ms,
    took_ms,
    cost_nano
FROM attempt
WHERE request_id = $request_id
ORDER BY attempt
