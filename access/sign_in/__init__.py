"""Sign-in of staff: lock-out after failures, and a second factor. django-allauth and django-axes do the work."""
