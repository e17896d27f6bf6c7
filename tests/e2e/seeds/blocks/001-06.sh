kubectl apply -f resourceclaim-template.yaml
