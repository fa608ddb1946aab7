"""What calls cost and who pays for them."""
