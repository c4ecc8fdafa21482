"""Deployments as processes: start, watch, read and stop the model servers behind online endpoints.

A deployment is served by the unmodified `azureml-inference-server-http` of its own environment, on a unix socket
that the edge names. This package is handed a `DeploymentPlan` and tells what happened; it knows neither database nor
request.
"""
