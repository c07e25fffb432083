"""Who comes in, and how: sessions, sign-in, roles, throttling, and the record of it all."""
