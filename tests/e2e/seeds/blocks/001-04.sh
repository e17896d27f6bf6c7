kubectl apply -f scheduling-config.yaml
