"""A three-host fleet in the lab that does real work: `make fleet`."""
