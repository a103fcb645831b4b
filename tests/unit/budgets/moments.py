"""Moments and time zones to look at windows from."""

from zoneinfo import available_timezones

from hypothesis import strategies as st

ZONES = st.one_of(
    st.sampled_from(["Pacific/Kiritimati", "America/New_York", "Asia/Kathmandu", "UTC"]),
    st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})),
)
# From 2012 on: before, St John's changed its clock a minute past midnight, so that one day fell
# into two pieces and no span could hold it.
MOMENTS = st.one_of(
    st.integers(1_325_376_000, 4_070_908_800),
    st.builds(
        lambda day, offset_s: day * 86_400 + offset_s,
        st.integers(15_400, 40_000),
        st.integers(-50_400, 50_400),
    ),
)
