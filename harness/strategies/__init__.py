"""Where schedules come from: every one of a small scope, or Hypothesis' choice.

A strategy sees a run in progress only through `moves`, picks one, and never touches a socket.
"""
