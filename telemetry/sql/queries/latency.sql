-- question: How long does each model take to answer, and what does the gateway add?
-- grain: one row per provider and model; milliseconds, NULL where nothing was measured
-- parameters: from_ms, to_ms
SELECT
    provider,
    model,
    count(*) AS requests,
    quantile_cont(gateway_ms, 0.50) AS gateway_p50_ms,
    quantile_cont(gateway_ms, 0.95) AS gateway_p95_ms,
    quantile_cont(first_byte_ms, 0.50) FILTER (first_byte_ms > 0) AS first_byte_p50_ms,
    quantile_cont(first_byte_ms, 0.95) FILTER (first_byte_ms > 0) AS first_byte_p95_ms
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms AND basis <> 'refused'
GROUP BY provider, model
ORDER BY provider, model
