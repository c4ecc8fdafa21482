"""`zaffre import`: what another tracking server holds, brought here by the requests any client may make.

`source` reads it by MLflow's own client, `target` asks this server, `journal` knows what is here already, and the rest is
what goes from one to the other: `runs`, `logged_models`, `traces`, `registry`, `files`.
"""
