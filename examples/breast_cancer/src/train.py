import sys

import mlflow
import mlflow.sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

features, target = load_breast_cancer(return_X_y=True, as_frame=True)
train_x, test_x, train_y, test_y = train_test_split(features, target == 1, random_state=0)
forest = RandomForestClassifier(n_estimators=200, random_state=0).fit(train_x, train_y)
mlflow.log_param("trees", 200)
mlflow.log_metric("accuracy", forest.score(test_x, test_y))
mlflow.log_metric("auc", roc_auc_score(test_y, forest.predict_proba(test_x)[:, 1]))
mlflow.sklearn.save_model(forest, sys.argv[1], input_example=test_x.head(2), serialization_format="cloudpickle")
print("trained on", len(train_x), "tumours, tested on", len(test_x))
