"""A judge that asks an endpoint of the gateway, made, asked, kept and found again. Takes the provider's address; prints FOUND and JSON."""

import json
import sys
from typing import Literal

import mlflow
from mlflow import MlflowClient
from mlflow.entities import GatewayEndpointModelConfig
from mlflow.entities.gateway_endpoint import GatewayModelLinkageType
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import get_scorer

store = MlflowClient()._tracking_client.store
secret = store.create_gateway_secret("judging", {"api_key": "sk-123456789"}, "custom_openai", {"api_base": sys.argv[1]})
model = store.create_gateway_model_definition("judging", secret.secret_id, "custom_openai", "judge-x")
endpoint = store.create_gateway_endpoint(
    "judging", [GatewayEndpointModelConfig(model.model_definition_id, GatewayModelLinkageType.PRIMARY)]
)
judge = make_judge(
    name="kind",
    instructions="Is {{ outputs }} kind?",
    model="gateway:/judging",
    feedback_value_type=Literal["yes", "no"],
)
feedback = judge(outputs="hello, dear")
mlflow.set_experiment("judged")
judge.register()
found = {
    "version": mlflow.__version__,
    "value": feedback.value,
    "rationale": feedback.rationale,
    "again": get_scorer(name="kind").model,
    "bound": [one.display_name for one in store.list_endpoint_bindings(endpoint_id=endpoint.endpoint_id)],
    "traces": [one.info.state for one in MlflowClient().search_traces(locations=[endpoint.experiment_id])],
}
print("FOUND " + json.dumps(found))
