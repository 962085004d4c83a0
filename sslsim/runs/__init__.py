"""Run folders: how they are opened, what is stored in them, and the trained networks they hold."""
