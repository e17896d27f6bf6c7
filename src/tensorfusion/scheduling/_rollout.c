/* What is free on nodes, offered to streams of pods: the inner loop of fragmentation.py, whose numpy twin says the same.

Plain C against CPython's stable ABI: arrays come as buffers, so one build serves every Python from 3.11 on and every
numpy. No input makes it misbehave: shapes and the pods are checked, and where a sum could leave 64 bits it wraps around
as numpy's does. The GIL is kept: a call takes well under a millisecond, and nobody may change an array meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* One row of the pods' array. */
typedef struct {
    int64_t cpu, memory, gpus, milli;
} Pod;

enum { FIELDS = 4, BESIDE = 2 };

/* Offer one stream. least[k] has the smallest of each field among pod k and all after it. Devices are ascending. */
static uint64_t
roll(const Pod *pods, const Pod *least, Py_ssize_t length, int64_t cpu, int64_t memory, int64_t *devices,
     Py_ssize_t slots)
{
    uint64_t placed = 0;
    Py_ssize_t low = 0; /* devices below this one have too little for whoever is still to come */
    for (Py_ssize_t k = 0; k < length; k++) {
        if (cpu < least[k].cpu || memory < least[k].memory)
            break;
        while (low < slots && devices[low] < least[k].milli)
            low++;
        if (slots - low < least[k].gpus)
            break;
        const Pod *pod = pods + k;
        const int64_t milli = pod->milli;
        if (cpu < pod->cpu || memory < pod->memory || devices[slots - 1] < milli)
            continue;
        Py_ssize_t first = low;
        while (devices[first] < milli)
            first++;
        if (slots - first < pod->gpus)
            continue;
        const Py_ssize_t end = first + (Py_ssize_t)pod->gpus;
        for (; first < end; first++) {
            const int64_t left = devices[first] - milli;
            Py_ssize_t at = first;
            for (; at > low && devices[at - 1] > left; at--)
                devices[at] = devices[at - 1];
            devices[at] = left;
        }
        cpu -= pod->cpu;
        memory -= pod->memory;
        placed += (uint64_t)pod->gpus * (uint64_t)milli;
    }
    return placed;
}

static void
sort(int64_t *values, Py_ssize_t count)
{
    for (Py_ssize_t k = 1; k < count; k++) {
        const int64_t value = values[k];
        Py_ssize_t at = k;
        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

static int64_t
lesser(int64_t one, int64_t other)
{
    return one < other ? one : other;
}

/* Fill in what is still to come; -1 with an exception set if a pod asks for what no pod can. */
static int
look_back(const Pod *pods, Pod *least, Py_ssize_t streams, Py_ssize_t length)
{
    for (Py_ssize_t s = 0; s < streams; s++) {
        Pod least_yet = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
        for (Py_ssize_t k = length - 1; k >= 0; k--) {
            const Pod *pod = pods + s * length + k;
            if (pod->cpu < 0 || pod->memory < 0 || pod->gpus < 1 || pod->milli < 1) {
                PyErr_Format(PyExc_ValueError,
                             "pod %zd of stream %zd: wanted cpu and memory from 0, gpus and milli from 1, found "
                             "%lld, %lld, %lld, %lld",
                             k, s, (long long)pod->cpu, (long long)pod->memory, (long long)pod->gpus,
                             (long long)pod->milli);
                return -1;
            }
            least_yet.cpu = lesser(least_yet.cpu, pod->cpu);
            least_yet.memory = lesser(least_yet.memory, pod->memory);
            least_yet.gpus = lesser(least_yet.gpus, pod->gpus);
            least_yet.milli = lesser(least_yet.milli, pod->milli);
            least[s * length + k] = least_yet;
        }
    }
    return 0;
}

/* A contiguous, aligned int64 array of so many dimensions, or -1 with an exception set. */
static int
take(PyObject *array, Py_buffer *view, int dimensions, int flags, const char *name)
{
    if (PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) < 0)
        return -1;
    const char *format = view->format;
    const int whole = view->itemsize == (Py_ssize_t)sizeof(int64_t) && format != NULL
                      && (strcmp(format, "q") == 0 || (sizeof(long) == sizeof(int64_t) && strcmp(format, "l") == 0));
    if (whole && view->ndim == dimensions && (uintptr_t)view->buf % _Alignof(Pod) == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: wanted an aligned int64 array of %d dimensions, found format %s and %d",
                 name, dimensions, format == NULL ? "B" : format, view->ndim);
    PyBuffer_Release(view);
    return -1;
}

/* The work on three checked views; the shapes are not checked yet. */
static int
offer(const Py_buffer *pods, const Py_buffer *states, Py_buffer *out)
{
    const Py_ssize_t streams = pods->shape[0], length = pods->shape[1], count = states->shape[0];
    const Py_ssize_t slots = states->shape[1] - BESIDE;
    if (pods->shape[2] != FIELDS || slots < 0 || out->shape[0] != count) {
        PyErr_Format(PyExc_ValueError, "wanted shapes (streams, length, 4), (S, 2 + G) and (S,), found (%zd, %zd, %zd), "
                     "(%zd, %zd) and (%zd,)",
                     streams, length, pods->shape[2], count, states->shape[1], out->shape[0]);
        return -1;
    }
    const size_t total = (size_t)pods->len / sizeof(Pod);
    Pod *least = PyMem_Malloc(total * sizeof(Pod) + sizeof(Pod));
    int64_t *devices = PyMem_Malloc(2 * (size_t)slots * sizeof(int64_t) + sizeof(int64_t));
    int result = -1;
    if (least == NULL || devices == NULL) {
        PyErr_NoMemory();
    }
    else if (look_back(pods->buf, least, streams, length) == 0) {
        const size_t bytes = (size_t)slots * sizeof(int64_t);
        for (Py_ssize_t row = 0; row < count; row++) {
            const int64_t *state = (const int64_t *)states->buf + row * states->shape[1];
            uint64_t placed = 0;
            memcpy(devices, state + BESIDE, bytes);
            sort(devices, slots);
            for (Py_ssize_t s = 0; s < streams; s++) {
                memcpy(devices + slots, devices, bytes);
                placed += roll((const Pod *)pods->buf + s * length, least + s * length, length, state[0], state[1],
                               devices + slots, slots);
            }
            memcpy((int64_t *)out->buf + row, &placed, sizeof placed);
        }
        result = 0;
    }
    PyMem_Free(least);
    PyMem_Free(devices);
    return result;
}

static PyObject *
worth(PyObject *module, PyObject *arguments)
{
    PyObject *arrays[3];
    Py_buffer pods, states, out;
    int result = -1;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOO:worth", &arrays[0], &arrays[1], &arrays[2]))
        return NULL;
    if (take(arrays[0], &pods, 3, 0, "pods") == 0) {
        if (take(arrays[1], &states, 2, 0, "states") == 0) {
            if (take(arrays[2], &out, 1, PyBUF_WRITABLE, "out") == 0) {
                result = offer(&pods, &states, &out);
                PyBuffer_Release(&out);
            }
            PyBuffer_Release(&states);
        }
        PyBuffer_Release(&pods);
    }
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"worth", worth, METH_VARARGS,
     "worth(pods, states, out)\n--\n\nWrite the milli-GPU that the streams fill, summed over them, for each state."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots_of_module[] = {{0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_rollout",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = slots_of_module,
};

PyMODINIT_FUNC
PyInit__rollout(void)
{
    return PyModuleDef_Init(&definition);
}
