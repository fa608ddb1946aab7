"""What every test runs under."""

from hypothesis import settings

# A slow machine is not a failure: nothing here asserts a duration.
settings.register_profile("splice", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("splice")
