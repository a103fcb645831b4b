-- wrk script: POST the body in the file BODY_FILE and print one JSON line of results.
-- Headers come from HDR="Name: value|Name: value", so that no key stands on a command line.
local file = assert(io.open(assert(os.getenv("BODY_FILE"), "BODY_FILE is not set"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
for name, value in string.gmatch(os.getenv("HDR") or "", "([^:|]+): ([^|]+)") do
  wrk.headers[name] = value
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'JSON {"rps":%.1f,"n":%d,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"non2xx":%d,"broken":%d}\n',
    summary.requests / (summary.duration / 1e6), summary.requests,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    e.status, e.connect + e.read + e.write + e.timeout))
end
