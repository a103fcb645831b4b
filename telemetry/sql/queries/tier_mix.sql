-- question: How were requests and money spread over the tiers, day by day?
-- grain: one row per UTC day of admission and tier
-- parameters: from_ms, to_ms
SELECT
    day,
    tier,
    count(*) AS requests,
    sum(cost_nano) AS cost_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms AND basis <> 'refused'
GROUP BY day, tier
ORDER BY day, tier
