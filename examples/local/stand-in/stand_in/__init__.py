"""What the stand-in is made of; plugins have no business here."""
