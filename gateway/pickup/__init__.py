"""From a landed file to a finished job: landing, settling, claiming, and the passage of each job."""
