"""Who belongs to the fleet: its certificate authority, and how a device gets a certificate."""
