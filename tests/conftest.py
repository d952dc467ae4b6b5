"""What every test runs under: no network but loopback, quiet libraries, one thread a process.

The variables are set here, before any library is imported, because most libraries read them on import only.
"""

import os

from hypothesis import HealthCheck, settings

from app.cli import ENVIRONMENT

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("wellread", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wellread")

os.environ.update(ENVIRONMENT)
os.environ["HF_HUB_OFFLINE"] = "1"
# Two processes of two threads each on two cores wait for each other; one thread each is faster and repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Settings of the person who runs the tests must not leak into them.
for name in [name for name in os.environ if name.startswith("WELLREAD_") and "__" in name]:
    del os.environ[name]
