"""Which route takes a request of the AI gateway, which of its targets is asked, and what follows when one fails.

Pure: whoever uses it passes the moment (``now``, seconds of a clock that never goes back) and random numbers in.

- ``asks``: who asks for what, and how an attempt ended.
- ``route``: a compiled LLMRoute, nothing left to parse. ``compiler`` makes it.
- ``routes``: all routes together; ``Routes.match`` finds the one that takes a request.
- ``chooser``: the moving part, one a route and worker: picks targets, learns from how attempts end.
- ``retry``: whether a failure is followed by the same target, another one, or the end.
- ``rollout``: a new target that gets more of the requests step by step.
- ``portkey``: Portkey's configurations, whose modes decide instead of a strategy.
- ``explain`` and ``check``: where a request would go and why, and what is wrong with a set of routes.
- ``reporting``: what a route's status says.

Road of a request: ``Routes.match``, ``Chooser.next``, and for each attempt ``started``, ``first_token``, ``ended`` and,
where it failed, ``after``. A request keeps the chooser it began with, also when routes are loaded anew meanwhile.
"""
