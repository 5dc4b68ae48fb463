"""What we claim of the store and the service, tried: processes killed, power cut, disks full, files damaged.

`python -m torture` lists the tests; `docs/reliability.md` holds what they found.
"""
