"""The console: pages for product owners, people on call and auditors, served by control itself."""
