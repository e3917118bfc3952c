"""What a network looks at: maps of evidence over images, for any class, and checks of them."""
