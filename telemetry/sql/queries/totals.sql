-- question: What happened in the period, all in all?
-- grain: one row
-- parameters: from_ms, to_ms
SELECT
    count(*) FILTER (basis <> 'refused') AS requests,
    count(*) FILTER (basis = 'refused') AS refused,
    count(*) FILTER (ending = 'killed') AS killed,
    count(*) FILTER (basis = 'assumed') AS assumed,
    count(DISTINCT run_id) AS runs,
    coalesce(sum(fresh_tokens), 0) AS fresh_tokens,
    coalesce(sum(cached_tokens), 0) AS cached_tokens,
    coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens,
    coalesce(sum(audio_input_tokens), 0) AS audio_input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens,
    coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
    coalesce(sum(audio_output_tokens), 0) AS audio_output_tokens,
    coalesce(sum(cost_nano), 0) AS cost_nano,
    coalesce(sum(overrun_nano), 0) AS overrun_nano,
    coalesce(sum(frontier_cost_nano) FILTER (basis <> 'refused'), 0) AS frontier_cost_nano,
    coalesce(
        sum(frontier_cost_nano - cost_nano)
        FILTER (frontier_cost_nano > 0 AND basis <> 'refused'),
        0
    ) AS saved_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
