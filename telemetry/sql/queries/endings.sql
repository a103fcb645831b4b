-- question: How did requests end?
-- grain: one row per ending, most frequent first
-- parameters: from_ms, to_ms
SELECT
    ending,
    count(*) AS requests,
    sum(cost_nano) AS cost_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
GROUP BY ending
ORDER BY requests DESC, ending
