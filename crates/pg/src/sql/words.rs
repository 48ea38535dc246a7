//! Which names before a bracket are harmless, and what the others touch: the functions of
//! PostgreSQL and of its usual extensions. Owns the lists; where a name stands is told elsewhere.

use super::Flags;

/// What a call does beyond reading data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Nothing.
    Harmless,
    /// `set_config`: its arguments decide.
    SetConfig,
    /// Touches these and belongs on the primary.
    Touches(Flags),
    /// Nobody knows.
    Unknown,
}

/// What a call of `name` does; `elsewhere` when it is qualified with a schema other than
/// `pg_catalog`, where anybody may have put a function of that name.
pub fn call(name: &[u8], elsewhere: bool) -> Call {
    if !elsewhere && harmless(name) {
        return Call::Harmless;
    }
    let mut folded = [0; LONGEST];
    let Some(folded) = folded.get_mut(..name.len()) else {
        return Call::Unknown;
    };
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    effect(folded)
}

const LONGEST: usize = 48;

fn effect(name: &[u8]) -> Call {
    Call::Touches(match name {
        b"set_config" => return Call::SetConfig,
        b"setseed" => Flags::SETSEED,
        b"nextval" | b"setval" => Flags::SEQUENCE_WRITE,
        b"currval" | b"lastval" => Flags::SEQUENCE_READ,
        b"pg_notify" => Flags::NOTIFY,
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared" => Flags::ADVISORY,
        b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
            Flags::ADVISORY_RELEASE
        }
        b"pg_advisory_xact_lock"
        | b"pg_advisory_xact_lock_shared"
        | b"pg_try_advisory_xact_lock"
        | b"pg_try_advisory_xact_lock_shared" => Flags::ADVISORY_XACT,
        b"pg_replication_origin_session_setup"
        | b"pg_replication_origin_session_reset"
        | b"pg_replication_origin_session_progress"
        | b"pg_replication_origin_session_is_setup"
        | b"pg_replication_slot_advance"
        | b"pg_drop_replication_slot"
        | b"pg_sync_replication_slots" => Flags::REPLICATION,
        // Their connections and descriptors live in the server process.
        b"dblink_connect" | b"dblink_connect_u" | b"dblink_disconnect" | b"dblink_open"
        | b"dblink_send_query" | b"pg_backup_start" | b"pg_start_backup" | b"pg_backup_stop"
        | b"pg_stop_backup" => Flags::HIDDEN,
        // Write, need a transaction number, or ask about this very server.
        b"pg_is_in_recovery"
        | b"pg_current_wal_lsn"
        | b"pg_current_wal_insert_lsn"
        | b"pg_current_wal_flush_lsn"
        | b"txid_current"
        | b"pg_current_xact_id"
        | b"pg_export_snapshot"
        | b"pg_cancel_backend"
        | b"pg_terminate_backend"
        | b"pg_reload_conf"
        | b"pg_backend_pid"
        | b"inet_server_addr"
        | b"inet_server_port"
        | b"inet_client_addr"
        | b"inet_client_port"
        | b"pg_sequence_last_value" => Flags::NONE,
        _ => return effect_of_family(name),
    })
}

fn effect_of_family(name: &[u8]) -> Call {
    if name.starts_with(b"st_") {
        return Call::Harmless; // PostGIS
    }
    let slot = name.ends_with(b"_replication_slot") || name.starts_with(b"pg_logical_slot_");
    if slot && name.starts_with(b"pg_") {
        return Call::Touches(Flags::REPLICATION);
    }
    let large_object = name.starts_with(b"lo_") || matches!(name, b"loread" | b"lowrite");
    if large_object || name.starts_with(b"pg_stat_") || name.starts_with(b"pg_ls_") {
        return Call::Touches(Flags::NONE);
    }
    Call::Unknown
}

fn harmless(name: &[u8]) -> bool {
    let mut slot = hash(name) as usize % SLOTS;
    loop {
        let (start, length) = TABLE[slot];
        if length == 0 {
            return false;
        }
        let (start, length) = (start as usize, length as usize);
        let known = HARMLESS
            .as_bytes()
            .get(start..start + length)
            .unwrap_or_default();
        if known.eq_ignore_ascii_case(name) {
            return true;
        }
        slot = (slot + 1) % SLOTS;
    }
}

const SLOTS: usize = 4096;

const TABLE: [(u16, u8); SLOTS] = {
    let text = HARMLESS.as_bytes();
    let mut table = [(0, 0); SLOTS];
    let mut start = 0;
    let mut at = 0;
    while at <= text.len() {
        if at < text.len() && !text[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if at > start {
            let (_, from) = text.split_at(start);
            let (word, _) = from.split_at(at - start);
            let mut slot = hash(word) as usize % SLOTS;
            while table[slot].1 != 0 {
                slot = (slot + 1) % SLOTS;
            }
            table[slot] = (start as u16, (at - start) as u8);
        }
        at += 1;
        start = at;
    }
    table
};

const fn hash(word: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < word.len() && at < LONGEST {
        hash = (hash ^ (word[at] | 0x20) as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash ^ (hash >> 15)
}

/// Keywords that may stand before a bracket, types, and functions that only compute or read.
const HARMLESS: &str = "
all also analyse analyze and any array as asymmetric begin between both btree by case cast check collate
column columns concurrently conflict constraint copy cross cube current_time current_timestamp cycle
default deferrable delete desc asc distinct do drop else end escape except exclude execute exists
explain false filter first following for foreign from full generated gin gist brin spgist hash
group grouping having ilike in include index inner insert instead intersect interval into is isnull join
json_table key lateral leading left like limit localtime localtimestamp match materialized merge
merge_action natural no not notnull null nulls of offset on only operator options or order outer
over overlaps partition placing precision preceding primary range recursive references returning
right rollup row rows select set sets similar some stdin stdout symmetric table tables tablesample then ties to
trailing true unbounded union unique update using values variadic verbose view when where window
with within without xmlattributes xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi
xmlroot xmlserialize xmltable passing
bigint bit bool boolean box bpchar bytea char character cidr circle citext date dec decimal double
float float4 float8 geography geometry hstore inet int int2 int4 int8 integer json jsonb line lseg
macaddr money name national nchar numeric oid path point polygon real regclass regproc regtype
smallint text time timestamp timestamptz timetz tsquery tsvector uuid varbit varchar varying vector
xml
abs acldefault aclexplode acos acosd acosh age any_value area array_agg array_append array_cat
array_dims array_fill array_length array_lower array_ndims array_position array_positions
array_prepend array_remove array_replace array_sample array_shuffle array_sort array_reverse
array_to_json array_to_string array_to_tsvector array_upper ascii asin asind asinh atan atan2 atan2d
atand atanh avg bernoulli bit_and bit_count bit_length bit_or bit_xor bool_and bool_or
bound_box broadcast btrim cardinality cbrt ceil ceiling center char_length character_length chr
clock_timestamp coalesce col_description concat concat_ws convert convert_from convert_to corr cos
cosd cosh cot cotd count covar_pop covar_samp cume_dist current_catalog current_database
current_date current_query current_role current_schema current_schemas current_setting current_user
date_add date_bin date_part date_subtract date_trunc decode degrees dense_rank diagonal diameter
div encode enum_first enum_last enum_range erf erfc every exp extract factorial family first_value
floor format format_type gamma gcd gen_random_uuid generate_series generate_subscripts get_bit
get_byte get_current_ts_config greatest has_any_column_privilege has_column_privilege
has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
has_language_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege
has_server_privilege hashtext hashtextextended has_table_privilege has_tablespace_privilege has_type_privilege height host
hostmask icu_unicode_version inet_merge inet_same_family initcap isclosed isempty isfinite
isopen isparallel isperp ishorizontal isvertical json_agg json_agg_strict json_array
json_array_elements json_array_elements_text json_array_length json_arrayagg json_build_array
json_build_object json_each json_each_text json_exists json_extract_path json_extract_path_text
json_object json_object_agg json_object_agg_strict json_object_agg_unique json_object_keys
json_objectagg json_populate_record json_populate_recordset json_query json_scalar json_serialize
json_strip_nulls json_to_record json_to_recordset json_typeof json_value jsonb_agg jsonb_agg_strict
jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
jsonb_build_object jsonb_concat jsonb_contained jsonb_contains jsonb_delete jsonb_delete_path
jsonb_each jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_extract_path
jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_agg_strict
jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz
jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record
jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record
jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead
least left length lgamma ln log log10 lower lower_inc lower_inf lpad ltrim macaddr8_set7bit
make_date make_interval make_time make_timestamp make_timestamptz makeaclitem masklen max md5 min
min_scale mod mode multirange mxid_age netmask network normalize now npoints nth_value ntile
nullif num_nonnulls num_nulls numnode obj_description octet_length overlay parse_ident
pclose percent_rank percentile_cont percentile_disc pg_char_to_encoding pg_client_encoding
pg_collation_for pg_collation_is_visible pg_column_compression pg_column_size pg_conf_load_time
pg_conversion_is_visible pg_database_size pg_describe_object pg_encoding_to_char
pg_function_is_visible pg_get_catalog_foreign_keys pg_get_constraintdef pg_get_expr
pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments
pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords
pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef pg_get_publication_tables
pg_get_replica_identity_index pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef
pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_triggerdef
pg_get_userbyid pg_get_viewdef pg_has_role pg_identify_object pg_identify_object_as_address
pg_index_column_has_property pg_index_has_property pg_indexam_has_property pg_indexes_size
pg_input_error_info pg_input_is_valid pg_is_other_temp_schema pg_my_temp_schema
pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_options_to_table
pg_partition_ancestors pg_partition_root pg_partition_tree pg_postmaster_start_time
pg_relation_filenode pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable
pg_column_is_updatable pg_relation_size pg_sequence_parameters pg_size_bytes pg_size_pretty
pg_sleep pg_sleep_for pg_sleep_until pg_statistics_obj_is_visible pg_table_is_visible pg_table_size
pg_tablespace_databases pg_tablespace_location pg_tablespace_size pg_total_relation_size
pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
pg_type_is_visible pg_typeof phraseto_tsquery pi plainto_tsquery popen position power querytree
quote_ident quote_literal quote_nullable radians radius random random_normal range_agg
range_intersect_agg range_merge rank regexp_count regexp_instr regexp_like regexp_match
regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx
regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace
reverse round row_number row_security_active row_to_json rpad rtrim scale session_user set_bit
set_byte set_masklen setweight sha224 sha256 sha384 sha512 shobj_description sign sin sind sinh
slope split_part sprintf sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp
string_agg string_to_array string_to_table strip strpos substr substring sum system_user tan tand
tanh timeofday timezone to_ascii to_bin to_char to_date to_hex to_json to_jsonb to_number to_oct
to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure
to_regrole to_regtype to_regtypemod to_timestamp to_tsquery to_tsvector transaction_timestamp
translate treat trim trim_array trim_scale trunc ts_debug ts_delete ts_filter ts_headline ts_lexize
ts_parse ts_rank ts_rank_cd ts_token_type tsquery_phrase tsvector_to_array txid_current_if_assigned
txid_current_snapshot txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin txid_status unicode
unicode_assigned unistr unnest upper upper_inc upper_inf user uuid_extract_timestamp
uuid_extract_version uuidv4 uuidv7 var_pop var_samp variance version websearch_to_tsquery
width width_bucket xml_is_well_formed xmlagg xmlcomment xmlconcat xpath xpath_exists crc32 crc32c
daterange datemultirange int4range int4multirange int8range int8multirange numrange nummultirange
tsrange tsmultirange tstzrange tstzmultirange
akeys avals armor bloom cosine_distance crypt cube_distance dearmor difference digest dmetaphone
dmetaphone_alt each earth_box earth_distance exist defined gen_salt hmac hstore_to_array
hstore_to_json hstore_to_jsonb inner_product l1_distance l2_distance levenshtein
levenshtein_less_equal ll_to_earth metaphone show_limit show_trgm similarity skeys slice soundex
strict_word_similarity subvector svals text2ltree unaccent uuid_generate_v1 uuid_generate_v1mc
uuid_generate_v3 uuid_generate_v4 uuid_generate_v5 uuid_nil vector_dims vector_norm word_similarity
nlevel subpath subltree lca pgp_sym_decrypt pgp_pub_decrypt decrypt encrypt
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whatever_its_case_and_only_as_a_whole() {
        for word in ["count", "COUNT", "Lower", "in", "encrypt", "all"] {
            assert!(harmless(word.as_bytes()), "{word}");
        }
        for word in [
            "",
            " ",
            "coun",
            "counts",
            "set_config",
            "nextval",
            "mine",
            "pg_advisory_lock",
        ] {
            assert!(!harmless(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn a_function_of_another_schema_is_not_the_one_we_know() {
        assert_eq!(call(b"lower", false), Call::Harmless);
        assert_eq!(call(b"lower", true), Call::Unknown);
        assert_eq!(call(b"Set_Config", true), Call::SetConfig);
        assert_eq!(call(&[b'x'; 300], false), Call::Unknown);
    }
}
