"""How hard the property tests try: `--hypothesis-profile=default` on every run, `nightly` at night.

Examples are not cut off by a clock: on a small shared machine a slow example is not a wrong one.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", parent=settings.get_profile("default"), max_examples=5_000)
settings.load_profile("default")
