"""Programs of a second set, written before the doctor has seen any of them."""
