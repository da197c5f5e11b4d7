"""Pictures, curves and widgets for notebooks. It imports whatever it shows; nothing but notebooks imports it."""
