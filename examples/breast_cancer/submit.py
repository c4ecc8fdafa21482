import os

from azure.ai.ml import MLClient, Output, command
from azure.ai.ml.entities import Environment, Model
from azure.identity import DefaultAzureCredential

names = (os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE"))
ml = MLClient(DefaultAzureCredential(), *names)
packages = ["azureml-mlflow", "mlflow-skinny", "pandas<3", "scikit-learn"]
conda = {"channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", {"pip": packages}]}
train = command(
    code="src",
    command="python train.py ${{outputs.model}}",
    outputs={"model": Output(type="mlflow_model")},
    environment=Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file=conda),
)
job = ml.jobs.create_or_update(train, experiment_name="breast-cancer")
ml.jobs.stream(job.name)
model = Model(name="breast-cancer", type="mlflow_model", path=f"azureml://jobs/{job.name}/outputs/model")
print("registered version", ml.models.create_or_update(model).version)
