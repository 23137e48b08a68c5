"""Ten samples of a sine a second, until it is told to stop."""

import math

from enrgdaq_exec import Job

with Job() as job:
    job.ready()
    n = 0
    while job.sleep(0.1):
        job.store(n=n, volts=math.sin(n / 10))
        n += 1
    job.status(f"{n} samples taken")
