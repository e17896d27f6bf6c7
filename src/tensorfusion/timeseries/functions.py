"""What a query may call. A list of what is let in, and not of what is kept out: DuckDB has hundreds, and more to come.

In: what measures, counts, compares and cuts. Out: what says something of the machine (settings, files), and what makes
long texts or lists out of short ones (repeat, replace, lpad, printf, range as a value), because texts on their way are
outside DuckDB's bound on memory. Joining texts is let in a few times: nested, each time could double them.
"""

from typing import Final

_OPERATORS: Final = "+ - * / // % ^ ** & | << >> ~ @ || ~~ !~~ ~~* !~~* ~~~"
_AGGREGATES: Final = """
    any_value approx_count_distinct approx_percentile_cont approx_quantile arg_max arg_min array_agg avg
    bool_and bool_or corr count count_if count_star covar_pop covar_samp first fsum kahan_sum last list max
    max_by mean median min min_by mode quantile_cont quantile_disc regr_intercept regr_r2 regr_slope stddev
    stddev_pop stddev_samp string_agg sum var_pop var_samp variance
"""
_WINDOWS: Final = """
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
"""
_NUMBERS: Final = """
    abs ceil ceiling exp floor greatest if ifnull isfinite isinf isnan least ln log log10 log2 mod nullif pow
    power round sign sqrt trunc
"""
_TEXTS: Final = """
    concat contains ends_with left length lower ltrim octet_length position prefix regexp_extract
    regexp_full_match regexp_matches right rtrim split_part starts_with strlen strpos substr substring suffix
    trim upper
"""
_TIMES: Final = """
    age current_date date_bin date_diff date_part date_trunc datediff day dayofweek dayofyear epoch epoch_ms
    epoch_ns epoch_us get_current_timestamp hour make_timestamp make_timestamp_ns minute month now second
    strptime time_bucket timezone to_days to_hours to_microseconds to_milliseconds to_minutes to_months
    to_seconds to_timestamp to_weeks to_years week year
"""
_LISTS: Final = "list_value row struct_pack unnest"

FUNCTIONS: Final = frozenset(f"{_OPERATORS} {_AGGREGATES} {_WINDOWS} {_NUMBERS} {_TEXTS} {_TIMES} {_LISTS}".split())
JOINING: Final = frozenset({"||", "concat"})
MOST_JOINED: Final = 4
ROW_MAKERS: Final = frozenset({"generate_series", "range", "unnest"})
"""What may stand in FROM with brackets."""
