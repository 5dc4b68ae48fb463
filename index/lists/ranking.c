/* Multiply a query with the codes of records (see records.py): whole numbers, which compilers turn into
 * multiply-and-add instructions of every processor. NumPy must copy the codes and widen them first. */

#include <stdint.h>
#include <string.h>

enum { LINE = 64, AHEAD = 6 }; /* bytes of a cache line; records that are fetched ahead: they lie anywhere in memory */

static int32_t of_bytes(const int16_t *query, const uint8_t *codes, int64_t count)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += query[i] * (int16_t)(int8_t)codes[i];
    return sum;
}

static int32_t of_lower_halves(const int16_t *query, const uint8_t *codes, int64_t count)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += query[i] * (int16_t)(codes[i] & 15);
    return sum;
}

static int32_t of_upper_halves(const int16_t *query, const uint8_t *codes, int64_t count)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += query[i] * (int16_t)(codes[i] >> 4);
    return sum;
}

static void fetch(const uint8_t *from, int64_t size)
{
    for (int64_t at = 0; at < size; at += LINE)
        __builtin_prefetch(from + at);
}

/* Read the first part of some records: two numbers, and the products of a query with the codes in bytes.
 *
 *   records               of `row_bytes` each: two numbers, codes in bytes, codes in half bytes
 *   items[n]              the records to read
 *   query[bytes]
 *   numbers[n][2], products[n]  are set
 */
void read_first(const uint8_t *records, int64_t row_bytes, const int64_t *items, int64_t n, const int16_t *query,
                int64_t bytes, float *numbers, int32_t *products)
{
    const int64_t head = 2 * (int64_t)sizeof(float);
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            fetch(records + items[i + AHEAD] * row_bytes, head + bytes);
        const uint8_t *record = records + items[i] * row_bytes;
        memcpy(numbers + 2 * i, record, (size_t)head);
        products[i] = of_bytes(query, record + head, bytes);
    }
}

/* Read the other part of some records: the products of a query with the codes in half bytes.
 *
 *   records               the other part of the first record; those of the others follow every `row_bytes`
 *   query[lower + upper]  of the lower half bytes, then of the upper ones
 */
void read_others(const uint8_t *records, int64_t row_bytes, const int64_t *items, int64_t n, const int16_t *query,
                 int64_t lower, int64_t upper, int32_t *products)
{
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            fetch(records + items[i + AHEAD] * row_bytes, lower);
        const uint8_t *codes = records + items[i] * row_bytes;
        products[i] = of_lower_halves(query, codes, lower) + of_upper_halves(query + lower, codes, upper);
    }
}
