# 1. Check Pod status
kubectl get pod my-workload

# 2. Check if ResourceClaim is created
kubectl get resourceclaim

# 3. Check if ResourceClaim is allocated
kubectl get resourceclaim <claim-name> -o yaml | grep allocated

# 4. Check ResourceSlice
kubectl get resourceslice

# 5. View Pod events
kubectl describe pod my-workload
