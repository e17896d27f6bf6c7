/* The rows of one class that changed, looked at again, and the best of all: the inner loop of rated.py, whose Python says
the same. Decision 0026.

A class (see rated.py) keeps a code for every device and node and a ranking key for every row of a pool. An object here
holds the class's own columns and those of the pool and its nodes as buffers for as long as it lives, so that a call
costs what the rows cost. From the first call of best on nobody else may change a key. Plain C against CPython's stable ABI, as _rollout.c. No input makes it misbehave: lengths,
types and row numbers are checked. The GIL is kept: a call takes microseconds. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* As in codes.py. */
enum { NOT_ASKED = 254, FITS = 255, CODES = 256 };
static const int64_t LOWEST = INT64_MIN;
/* As in front.py. */
enum { KEPT = 12, MOST = 2 * KEPT };
/* A whole device in milli-percent. */
enum { WHOLE = 100000 };

/* What the columns are over: the slots of all rows, the rows of the pool, the rows of the nodes, or the codes. */
typedef enum { SLOTS, ROWS, NODES, COUNTS } Over;

typedef struct {
    const char *name;
    Over over;
    size_t size;
    int written;
} Kind;

enum {
    STATIC, CAPACITY, COMPUTE_FREE, VRAM_FREE, MODES, SCORE, DEVICE_CODES,
    NODE_ROW, NODE_SCORE, NODE_CODES, KEYS,
    SHAPE, CPU_FREE, MEMORY_FREE, PODS_FREE, WORKERS, NATIVE, PREFERENCE,
    DEVICE_COUNTS, NODE_COUNTS,
    COLUMNS
};

static const Kind kinds[COLUMNS] = {
    {"static", SLOTS, 1, 0},        {"compute", SLOTS, 8, 0},     {"compute_free", SLOTS, 8, 0},
    {"vram_free", SLOTS, 8, 0},     {"modes", SLOTS, 1, 0},       {"score", SLOTS, 8, 0},
    {"device_codes", SLOTS, 1, 1},  {"node_row", ROWS, 8, 0},     {"node_score", ROWS, 8, 0},
    {"node_codes", ROWS, 1, 1},     {"keys", ROWS, 8, 1},         {"shape", NODES, 1, 0},
    {"cpu_free", NODES, 8, 0},      {"memory_free", NODES, 8, 0}, {"pods_free", NODES, 8, 0},
    {"workers", NODES, 8, 0},       {"native", NODES, 8, 0},      {"preference", NODES, 8, 0},
    {"device_counts", COUNTS, 8, 1}, {"node_counts", COUNTS, 8, 1},
};

/* What the pod asks for; `blocked` are the bits of isolation modes that it shares no device with. */
typedef struct {
    long long count, compute, percent, vram, blocked, cpu, memory, workers, unit;
} Asked;

/* Codes of the filters. */
typedef struct {
    unsigned char in_use, compute, vram, count, cpu, memory, pods, workers, native;
} Reasons;

typedef struct {
    int64_t key;
    Py_ssize_t row;
} Rank;

/* What filters removed: the reasons' own objects from code `first` on, and as it was told last, NULL where that is over. */
typedef struct {
    PyObject *reasons, *told;
    int first;
} Removed;

typedef struct {
    PyObject_HEAD
    Py_buffer views[COLUMNS];
    int taken[COLUMNS];
    Py_ssize_t slots, rows, nodes;
    Asked asked;
    Reasons reasons;
    Removed removed[2]; /* of devices, of nodes */
    PyObject *names;    /* of the rows' nodes */
    unsigned char *codes; /* of the row at hand */
    Py_ssize_t *order;    /* the slots of a row, as they rank */
    Rank ranks[MOST + 1]; /* the best rows, best first: all that rank at least as high as the floor are among them */
    Py_ssize_t kept;
    Rank floor;
    int every; /* every row that fits is above the floor */
    int known; /* the ranks are those of the keys */
} Rows;

static unsigned char *
bytes_of(const Rows *self, int column)
{
    return self->views[column].buf;
}

static int64_t *
ints_of(const Rows *self, int column)
{
    return self->views[column].buf;
}

/* --- the front: see front.py --- */

static int
is_better(Rank one, Rank other)
{
    return one.key > other.key || (one.key == other.key && one.row < other.row);
}

static void
keep(Rows *self, Rank rank)
{
    Py_ssize_t at = self->kept++;
    for (; at > 0 && is_better(rank, self->ranks[at - 1]); at--)
        self->ranks[at] = self->ranks[at - 1];
    self->ranks[at] = rank;
}

static void
rerank(Rows *self, Py_ssize_t row, int64_t key)
{
    const Rank rank = {key, row};
    if (!self->known)
        return;
    for (Py_ssize_t at = 0; at < self->kept; at++) {
        if (self->ranks[at].row == row) {
            self->kept--;
            memmove(self->ranks + at, self->ranks + at + 1, (size_t)(self->kept - at) * sizeof(Rank));
            break;
        }
    }
    if (key == LOWEST || (!self->every && is_better(self->floor, rank)))
        return;
    keep(self, rank);
    if (self->kept > MOST) {
        self->kept = KEPT;
        self->floor = self->ranks[KEPT - 1];
        self->every = 0;
    }
}

static void
look_at_all(Rows *self)
{
    const int64_t *keys = ints_of(self, KEYS);
    self->kept = 0;
    self->every = 1;
    for (Py_ssize_t row = 0; row < self->rows; row++) {
        const Rank rank = {keys[row], row};
        if (rank.key == LOWEST)
            continue;
        if (self->kept == KEPT) {
            self->every = 0;
            if (!is_better(rank, self->ranks[KEPT - 1]))
                continue;
            self->kept--;
        }
        keep(self, rank);
    }
    if (!self->every)
        self->floor = self->ranks[KEPT - 1];
    self->known = 1;
}

/* --- one row: see live_codes and node_code in search.py --- */

/* The code of a device that no static filter removes. */
static unsigned char
device_code(const Rows *self, Py_ssize_t at)
{
    const Asked *asked = &self->asked;
    if (bytes_of(self, MODES)[at] & asked->blocked)
        return self->reasons.in_use;
    int64_t compute = asked->compute;
    if (compute == 0 && asked->percent) {
        const int64_t capacity = ints_of(self, CAPACITY)[at]; /* in two parts: no product leaves 64 bits */
        compute = capacity / WHOLE * asked->percent + capacity % WHOLE * asked->percent / WHOLE;
    }
    if (ints_of(self, COMPUTE_FREE)[at] < compute)
        return self->reasons.compute;
    return ints_of(self, VRAM_FREE)[at] < asked->vram ? self->reasons.vram : FITS;
}

static unsigned char
node_code(const Rows *self, Py_ssize_t node)
{
    const Asked *asked = &self->asked;
    const unsigned char code = bytes_of(self, SHAPE)[node];
    if (code != FITS)
        return code;
    if (asked->cpu && ints_of(self, CPU_FREE)[node] < asked->cpu)
        return self->reasons.cpu;
    if (asked->memory && ints_of(self, MEMORY_FREE)[node] < asked->memory)
        return self->reasons.memory;
    if (ints_of(self, PODS_FREE)[node] < 1)
        return self->reasons.pods;
    if (asked->workers > 0 && asked->workers <= ints_of(self, WORKERS)[node])
        return self->reasons.workers;
    return ints_of(self, NATIVE)[node] > 0 ? self->reasons.native : FITS;
}

/* Answers 1 where the code is another one. */
static int
recode(unsigned char *known, unsigned char code, int64_t *counts)
{
    if (*known == code)
        return 0;
    counts[*known]--;
    counts[code]++;
    *known = code;
    return 1;
}

static void
look_at(Rows *self, Py_ssize_t row, Py_ssize_t node)
{
    const unsigned char *fixed = bytes_of(self, STATIC);
    Py_ssize_t fitting = 0;
    for (Py_ssize_t slot = 0, at = row; slot < self->slots; slot++, at += self->rows) {
        const unsigned char code = fixed[at] == FITS ? device_code(self, at) : fixed[at];
        fitting += code == FITS;
        self->codes[slot] = code;
    }
    const int enough = fitting >= self->asked.count;
    for (Py_ssize_t slot = 0, at = row; slot < self->slots; slot++, at += self->rows) {
        const unsigned char code = !enough && self->codes[slot] == FITS ? self->reasons.count : self->codes[slot];
        if (recode(bytes_of(self, DEVICE_CODES) + at, code, ints_of(self, DEVICE_COUNTS)))
            Py_CLEAR(self->removed[0].told);
    }
    const unsigned char code = enough ? node_code(self, node) : NOT_ASKED;
    if (recode(bytes_of(self, NODE_CODES) + row, code, ints_of(self, NODE_COUNTS)))
        Py_CLEAR(self->removed[1].told);
    int64_t key = LOWEST;
    if (code == FITS) {
        uint64_t points = (uint64_t)ints_of(self, NODE_SCORE)[row] * (uint64_t)self->asked.unit; /* wraps, as numpy does */
        if (self->taken[PREFERENCE])
            points += (uint64_t)ints_of(self, PREFERENCE)[node];
        key = (int64_t)points;
    }
    ints_of(self, KEYS)[row] = key;
    rerank(self, row, key);
}

/* --- what Python sees --- */

/* A row of the pool, or -1 with an exception set. */
static Py_ssize_t
row_of(const Rows *self, PyObject *number)
{
    const Py_ssize_t row = PyLong_AsSsize_t(number);
    if (row == -1 && PyErr_Occurred())
        return -1;
    if (row < 0 || row >= self->rows) {
        PyErr_Format(PyExc_IndexError, "row %zd: wanted 0 to %zd", row, self->rows - 1);
        return -1;
    }
    return row;
}

static PyObject *
correct(PyObject *object, PyObject *list)
{
    Rows *self = (Rows *)object;
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "rows: wanted a list");
        return NULL;
    }
    for (Py_ssize_t at = 0; at < PyList_Size(list); at++) {
        const Py_ssize_t row = row_of(self, PyList_GetItem(list, at));
        if (row < 0)
            return NULL;
        const int64_t node = ints_of(self, NODE_ROW)[row];
        if (node < 0 || node >= self->nodes) {
            PyErr_Format(PyExc_IndexError, "node row %lld of row %zd: wanted 0 to %zd", (long long)node, row,
                         self->nodes - 1);
            return NULL;
        }
        look_at(self, row, (Py_ssize_t)node);
    }
    Py_RETURN_NONE;
}

/* The front has as many as are asked for, or all there are; answers how many. */
static Py_ssize_t
look_for(Rows *self, Py_ssize_t asked)
{
    if (!self->known || (self->kept < asked && !self->every))
        look_at_all(self);
    return self->kept < asked ? self->kept : asked;
}

/* A tuple of two objects that it takes over; NULL where one of them is. */
static PyObject *
pair(PyObject *one, PyObject *other)
{
    PyObject *both = one == NULL || other == NULL ? NULL : PyTuple_New(2);
    if (both == NULL) {
        Py_XDECREF(one);
        Py_XDECREF(other);
        return NULL;
    }
    PyTuple_SetItem(both, 0, one);
    PyTuple_SetItem(both, 1, other);
    return both;
}

static PyObject *
best(PyObject *object, PyObject *number)
{
    Rows *self = (Rows *)object;
    const Py_ssize_t asked = PyLong_AsSsize_t(number);
    if (asked == -1 && PyErr_Occurred())
        return NULL;
    if (asked < 0 || asked > KEPT) {
        PyErr_Format(PyExc_ValueError, "the best %zd rows: wanted 0 to %d", asked, KEPT);
        return NULL;
    }
    const Py_ssize_t count = look_for(self, asked);
    PyObject *found = PyList_New(count);
    for (Py_ssize_t at = 0; found != NULL && at < count; at++) {
        PyObject *entry = pair(PyLong_FromSsize_t(self->ranks[at].row), PyLong_FromLongLong(self->ranks[at].key));
        if (entry == NULL)
            Py_CLEAR(found);
        else
            PyList_SetItem(found, at, entry);
    }
    return found;
}

/* What the filters removed, in their order, as Tally.removed has it; a new reference. */
static PyObject *
tell(Removed *removed, const int64_t *counts)
{
    if (removed->told == NULL) {
        const Py_ssize_t reasons = PyTuple_Size(removed->reasons);
        Py_ssize_t count = 0;
        for (Py_ssize_t at = 0; at < reasons; at++)
            count += counts[removed->first + at] != 0;
        PyObject *told = PyTuple_New(count);
        for (Py_ssize_t at = 0, place = 0; told != NULL && at < reasons; at++) {
            const int64_t found = counts[removed->first + at];
            if (found == 0)
                continue;
            PyObject *reason = PyTuple_GetItem(removed->reasons, at);
            Py_INCREF(reason);
            PyObject *entry = pair(reason, PyLong_FromLongLong(found));
            if (entry == NULL)
                Py_CLEAR(told);
            else
                PyTuple_SetItem(told, place++, entry);
        }
        removed->told = told;
    }
    Py_XINCREF(removed->told);
    return removed->told;
}

/* The fitting slots of a row in `order`, as many as the pod asks for, the highest score first; answers how many. */
static Py_ssize_t
choose(Rows *self, Py_ssize_t row)
{
    const int64_t *score = ints_of(self, SCORE) + row;
    const unsigned char *codes = bytes_of(self, DEVICE_CODES) + row;
    Py_ssize_t count = 0;
    for (Py_ssize_t slot = 0; slot < self->slots; slot++) {
        if (codes[slot * self->rows] != FITS)
            continue;
        Py_ssize_t at = count++;
        for (; at > 0 && score[self->order[at - 1] * self->rows] < score[slot * self->rows]; at--)
            self->order[at] = self->order[at - 1];
        self->order[at] = slot;
    }
    return count > self->asked.count ? (Py_ssize_t)self->asked.count : count;
}

/* The points of a key: its units of preference, rounded up. */
static int64_t
points_of(const Rows *self, int64_t key)
{
    const int64_t unit = self->asked.unit, points = key / unit;
    return key % unit > 0 ? points + 1 : points;
}

static PyObject *
alternatives(const Rows *self, Py_ssize_t count)
{
    PyObject *found = PyTuple_New(count > 1 ? count - 1 : 0);
    for (Py_ssize_t at = 1; found != NULL && at < count; at++) {
        PyObject *name = PyList_GetItem(self->names, self->ranks[at].row);
        PyObject *entry = NULL;
        if (name != NULL) {
            Py_INCREF(name);
            entry = pair(name, PyLong_FromLongLong(points_of(self, self->ranks[at].key)));
        }
        if (entry == NULL)
            Py_CLEAR(found);
        else
            PyTuple_SetItem(found, at - 1, entry);
    }
    return found;
}

/* How many rows a decision names: the one it takes, and its alternatives. As ASKED in front.py. */
enum { ASKED = 4 };

static PyObject *
answer(PyObject *object, PyObject *unused)
{
    Rows *self = (Rows *)object;
    (void)unused;
    const Py_ssize_t count = look_for(self, ASKED);
    if (count == 0)
        Py_RETURN_NONE;
    const Rank taken = self->ranks[0];
    const Py_ssize_t chosen = choose(self, taken.row);
    PyObject *slots = PyList_New(chosen), *scores = PyTuple_New(chosen);
    for (Py_ssize_t at = 0; slots != NULL && scores != NULL && at < chosen; at++) {
        const Py_ssize_t slot = self->order[at];
        PyObject *number = PyLong_FromSsize_t(slot);
        PyObject *score = PyLong_FromLongLong(ints_of(self, SCORE)[slot * self->rows + taken.row]);
        if (number == NULL || score == NULL) {
            Py_XDECREF(number);
            Py_XDECREF(score);
            Py_CLEAR(slots);
            break;
        }
        PyList_SetItem(slots, at, number);
        PyTuple_SetItem(scores, at, score);
    }
    PyObject *parts[] = {
        PyLong_FromSsize_t(taken.row),
        slots,
        PyLong_FromLongLong(points_of(self, taken.key)),
        scores,
        alternatives(self, count),
        PyLong_FromLongLong(ints_of(self, NODE_COUNTS)[FITS]),
        tell(self->removed, ints_of(self, DEVICE_COUNTS)),
        tell(self->removed + 1, ints_of(self, NODE_COUNTS)),
    };
    enum { PARTS = sizeof parts / sizeof *parts };
    PyObject *found = PyTuple_New(PARTS);
    for (int part = 0; part < PARTS; part++) {
        if (parts[part] == NULL)
            Py_CLEAR(found);
    }
    for (int part = 0; part < PARTS; part++) {
        if (found != NULL)
            PyTuple_SetItem(found, part, parts[part]);
        else
            Py_XDECREF(parts[part]);
    }
    return found;
}

/* --- taking the columns --- */

/* Whether the view has the numbers that the column is to have. */
static int
is_of_kind(const Py_buffer *view, const Kind *kind)
{
    const char *format = view->format;
    if (format == NULL || view->itemsize != (Py_ssize_t)kind->size)
        return 0;
    if (kind->size == 1)
        return strcmp(format, "B") == 0;
    return (strcmp(format, "q") == 0 || (sizeof(long) == sizeof(int64_t) && strcmp(format, "l") == 0))
           && (uintptr_t)view->buf % _Alignof(int64_t) == 0;
}

/* Take one column; -1 with an exception set if it is none. */
static int
take(Rows *self, int column, PyObject *array)
{
    const Kind *kind = kinds + column;
    Py_buffer *view = self->views + column;
    if (PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (kind->written ? PyBUF_WRITABLE : 0)) < 0)
        return -1;
    self->taken[column] = 1;
    if (!is_of_kind(view, kind) || view->ndim != (kind->over == SLOTS ? 2 : 1)) {
        PyErr_Format(PyExc_ValueError, "%s: wanted an aligned array of %zu-byte integers in %d dimensions, found "
                     "format %s in %d",
                     kind->name, kind->size, kind->over == SLOTS ? 2 : 1, view->format == NULL ? "B" : view->format,
                     view->ndim);
        return -1;
    }
    if (column == STATIC) {
        self->slots = view->shape[0];
        self->rows = view->shape[1];
    }
    else if (column == SHAPE) {
        self->nodes = view->shape[0];
    }
    const Py_ssize_t wanted[] = {self->slots * self->rows, self->rows, self->nodes, CODES};
    const Py_ssize_t found = view->len / (Py_ssize_t)kind->size;
    if (found != wanted[kind->over] || (kind->over == SLOTS && view->shape[1] != self->rows)) {
        PyErr_Format(PyExc_ValueError, "%s: wanted %zd numbers, found %zd", kind->name, wanted[kind->over], found);
        return -1;
    }
    return 0;
}

/* Take the reasons from a code on: all of their codes are below 256. */
static int
take_reasons(Removed *removed, PyObject *reasons, int first)
{
    if (first < 0 || PyTuple_Size(reasons) > CODES - 2 - first) {
        PyErr_Format(PyExc_ValueError, "wanted reasons of codes 0 to %d, found %zd from %d on", CODES - 3,
                     PyTuple_Size(reasons), first);
        return -1;
    }
    Py_INCREF(reasons);
    removed->reasons = reasons;
    removed->first = first;
    return 0;
}

static int
take_all(Rows *self, PyObject *columns)
{
    if (PyTuple_Size(columns) != COLUMNS) {
        PyErr_Format(PyExc_ValueError, "wanted %d columns, found %zd", COLUMNS, PyTuple_Size(columns));
        return -1;
    }
    for (int column = 0; column < COLUMNS; column++) {
        PyObject *array = PyTuple_GetItem(columns, column);
        if (column == PREFERENCE && array == Py_None)
            continue;
        if (take(self, column, array) < 0)
            return -1;
    }
    self->codes = PyMem_Malloc((size_t)self->slots + 1);
    self->order = PyMem_Malloc(((size_t)self->slots + 1) * sizeof(Py_ssize_t));
    if (self->codes == NULL || self->order == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static PyObject *
make(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    PyObject *columns, *names, *of_devices, *of_nodes;
    Asked asked;
    Reasons reasons;
    int first;
    if (named != NULL && PyDict_Size(named) > 0) {
        PyErr_SetString(PyExc_TypeError, "Rows takes no named arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "O!(LLLLLLLLL)(bbbbbbbbb)O!iO!O!:Rows", &PyTuple_Type, &columns, &asked.count,
                          &asked.compute, &asked.percent, &asked.vram, &asked.blocked, &asked.cpu, &asked.memory,
                          &asked.workers, &asked.unit, &reasons.in_use, &reasons.compute, &reasons.vram,
                          &reasons.count, &reasons.cpu, &reasons.memory, &reasons.pods, &reasons.workers,
                          &reasons.native, &PyTuple_Type, &of_devices, &first, &PyTuple_Type, &of_nodes, &PyList_Type,
                          &names))
        return NULL;
    if (asked.count < 1 || asked.percent < 0 || asked.percent > WHOLE || asked.unit < 1) {
        PyErr_Format(PyExc_ValueError, "wanted a device or more, a share of 0 to %d and a unit from 1, found %lld, %lld "
                     "and %lld",
                     WHOLE, asked.count, asked.percent, asked.unit);
        return NULL;
    }
    const allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Rows *self = (Rows *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->asked = asked;
    self->reasons = reasons;
    Py_INCREF(names);
    self->names = names;
    if (take_reasons(self->removed, of_devices, first) < 0 || take_reasons(self->removed + 1, of_nodes, 0) < 0
        || take_all(self, columns) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
release(PyObject *object)
{
    Rows *self = (Rows *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (int column = 0; column < COLUMNS; column++) {
        if (self->taken[column])
            PyBuffer_Release(self->views + column);
    }
    for (int kind = 0; kind < 2; kind++) {
        Py_XDECREF(self->removed[kind].reasons);
        Py_XDECREF(self->removed[kind].told);
    }
    Py_XDECREF(self->names);
    PyMem_Free(self->codes);
    PyMem_Free(self->order);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"correct", correct, METH_O, "correct(rows)\n--\n\nLook at these rows again."},
    {"best", best, METH_O, "best(count)\n--\n\nThe fitting rows with the highest keys, and these, best first."},
    {"answer", answer, METH_NOARGS,
     "answer()\n--\n\nAll of a decision: the best row, the slots on it, its points, the slots' scores, other nodes and "
     "their points, how many rows can take the pod, what removed devices and what removed nodes. None where none can."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots_of_type[] = {
    {Py_tp_new, make}, {Py_tp_dealloc, release}, {Py_tp_methods, methods}, {0, NULL}};

static PyType_Spec spec = {
    .name = "tensorfusion.scheduling._rows.Rows",
    .basicsize = sizeof(Rows),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots_of_type,
};

static int
fill(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    const int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result;
}

static PyModuleDef_Slot slots_of_module[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_rows",
    .m_size = 0,
    .m_slots = slots_of_module,
};

PyMODINIT_FUNC
PyInit__rows(void)
{
    return PyModuleDef_Init(&definition);
}
