"""What partners see: the SFTP listener, login, the confined file system, and uploads."""
