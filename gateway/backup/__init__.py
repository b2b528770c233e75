"""Backup and restore: ledger, files and configuration of one moment, taken while the gateway serves.

A backup is a folder:

MANIFEST     the SHA-256 of every other file, as `sha256sum -c MANIFEST` reads it
backup.json  when it was taken, and of what
config/      gateway.toml, tenants/, contracts/ and the host keys: guard it as you guard the gateway itself
data/        the ledger; the store as it was then; the files of all drops that were not swept; uploads that broke off;
             results in the outboxes
"""
