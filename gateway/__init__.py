"""An SFTP drop-folder ingestion gateway: partners drop files, the outbox answers row by row."""

__version__ = "0.1.0"
