"""The web page for operators: what `connector status`, `explain`, `deadletters` and `held` know, to look at and click.

Pages are made on the server, and work without a script. `app` puts them together, `collector` looks at the service for
all of them, and `live` sends what has changed to the open ones.
"""
