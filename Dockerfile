# headsplat on Ray, for the machines of cluster.yaml and deployments/kubernetes.
#
#   docker build -t YOUR-REGISTRY/headsplat:0.1.0-ray2.60.0 \
#       --build-arg TORCH_INDEX=<PyTorch's package index for CUDA 12.8> .
#
# The base has Ray in the version of constraints.txt, CUDA's compiler and the user ray. The tests check
# this file's versions and names; it has never been built by us.
FROM rayproject/ray:2.60.0-py311-cu128

# torch for another CUDA than the base's cannot compile gsplat; empty is pip's own index.
ARG TORCH_INDEX=""
# 8.0 A100, 8.6 A10G, 8.9 L4 and L40S, 9.0 H100; add 7.5 for T4
ARG CUDA_ARCHITECTURES="8.0;8.6;8.9;9.0"
ENV PIP_NO_CACHE_DIR=1

USER root
# OpenCV loads these two
RUN apt-get update && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
USER ray

WORKDIR /home/ray/headsplat
COPY --chown=ray constraints.txt ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
# gsplat's kernels are compiled here and never on a worker: it takes minutes, and workers that share a
# home directory race.
RUN pip install --constraint constraints.txt setuptools wheel ninja jaxtyping \
    && TORCH_CUDA_ARCH_LIST="$CUDA_ARCHITECTURES" MAX_JOBS=4 pip install --no-build-isolation \
        --no-deps --no-binary gsplat gsplat==1.5.3

COPY --chown=ray pyproject.toml README.md LICENSE ./
COPY --chown=ray pipeline pipeline
COPY --chown=ray deployments deployments
COPY --chown=ray jobs jobs
RUN pip install --constraint constraints.txt ".[aws,serve]"

WORKDIR /home/ray
# Makes one avatar on the CPU: numba's compiled kernels stay in the image, and a broken image is
# noticed here.
RUN photo=$(python -c "from jobs.demo import demo_photos; print(demo_photos()[0])") \
    && headsplat make "$photo" -o /tmp/avatars && rm -r /tmp/avatars \
    && python -c "import importlib.util as u; assert u.find_spec('gsplat.csrc'), 'no kernels'" \
    && headsplat doctor
