"""Tests of what we claim of the store and the service: processes killed, power cut, disks full, files damaged.

`python -m torture` lists the tests; `docs/reliability.md` has their results.
"""
