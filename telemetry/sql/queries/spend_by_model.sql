-- question: What did each model cost in the period?
-- grain: one row per provider and model, dearest first
-- parameters: from_ms, to_ms
SELECT
    provider,
    model,
    count(*) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(all_output_tokens) AS output_tokens,
    sum(cost_nano) AS cost_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms AND basis <> 'refused'
GROUP BY provider, model
ORDER BY cost_nano DESC, provider, model
