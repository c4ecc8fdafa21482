"""The words of connections: every category the SDK knows, by the group Azure puts it in, and what each way to sign in takes."""

from __future__ import annotations

from typing import NamedTuple

GROUPS: dict[str, tuple[str, ...]] = {
    "Azure": (
        "PythonFeed", "ContainerRegistry", "Git", "AzureKeyVault", "AzureSqlDb", "AzureSynapseAnalytics", "AzureMySqlDb",
        "AzurePostgresDb", "ADLSGen2", "AzureContainerAppEnvironment", "Redis", "AzureBlob", "AzureStorageAccount", "AzureOneLake",
        "CosmosDb", "CosmosDbMongoDbApi", "AzureDataExplorer", "AzureMariaDb", "AzureDatabricksDeltaLake", "AzureSqlMi",
        "AzureTableStorage", "AppInsights", "AppConfig", "ApiManagement",
    ),
    "AzureAI": (
        "AzureOpenAI", "AIServices", "CognitiveSearch", "CognitiveService", "OpenAI", "Serp", "BingLLMSearch", "Serverless",
        "ManagedOnlineEndpoint", "ModelGateway", "GroundingWithBingSearch", "GroundingWithCustomSearch", "RemoteA2A",
    ),
    "Database": (
        "Snowflake", "AmazonRdsForOracle", "AmazonRdsForSqlServer", "AmazonRedshift", "Db2", "Drill", "GoogleBigQuery", "Greenplum",
        "Hbase", "Hive", "Impala", "Informix", "MariaDb", "MicrosoftAccess", "MySql", "Netezza", "Oracle", "Phoenix", "PostgreSql",
        "Presto", "SapOpenHub", "SapBw", "SapHana", "SapTable", "Spark", "SqlServer", "Sybase", "Teradata", "Vertica", "Pinecone",
        "Databricks",
    ),
    "NoSQL": ("Cassandra", "Couchbase", "MongoDbV2", "MongoDbAtlas", "Elasticsearch"),
    "File": (
        "S3", "AmazonS3Compatible", "FileServer", "FtpServer", "GoogleCloudStorage", "Hdfs", "OracleCloudStorage", "Sftp",
        "MicrosoftFabric",
    ),
    "GenericProtocol": (
        "ApiKey", "CustomKeys", "GenericHttp", "ODataRest", "Odbc", "GenericRest", "RemoteTool", "GenericContainerRegistry",
    ),
    "ServicesAndApps": (
        "AmazonMws", "Concur", "Dynamics", "DynamicsAx", "DynamicsCrm", "GoogleAdWords", "Hubspot", "Jira", "Magento", "Marketo",
        "Office365", "Eloqua", "Responsys", "OracleServiceCloud", "PayPal", "QuickBooks", "Salesforce", "SalesforceServiceCloud",
        "SalesforceMarketingCloud", "SapCloudForCustomer", "SapEcc", "ServiceNow", "SharePointOnlineList", "Shopify", "Square",
        "WebTable", "Xero", "Zoho", "Sharepoint", "PowerPlatformEnvironment",
    ),
}  # fmt: skip
CATEGORIES = {category.lower(): (category, group) for group, members in GROUPS.items() for category in members}
# What the SDK's users call a category, where that is another word.
CALLED = {
    "custom": "CustomKeys",
    "azuredatalakegen2": "ADLSGen2",
    "azureaisearch": "CognitiveSearch",
    "azureaiservices": "AIServices",
    "azurecontentsafety": "CognitiveService",
    "azurespeechservices": "CognitiveService",
    "azuresynapseanalytics": "AzureSynapseAnalytics",
}
PYTHON_FEED = "PythonFeed"
DATA = ("AzureBlob", "ADLSGen2", "AzureOneLake")
"""Categories that stand for data, which a list shows only when asked: `includeAll`, or by name."""
WITHOUT_TARGET = ("OpenAI", "Serp", "CustomKeys", "ApiKey", "BingLLMSearch", "GroundingWithBingSearch")


class SignIn(NamedTuple):
    """What credentials of one `authType` must hold, and what they may."""

    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


SIGN_INS = {
    "PAT": SignIn(("pat",)),
    "ManagedIdentity": SignIn((), ("clientId", "resourceId", "objectId")),
    "UsernamePassword": SignIn(("username", "password"), ("securityToken",)),
    "None": SignIn(),
    "SAS": SignIn(("sas",)),
    "AccountKey": SignIn(("key",)),
    "ServicePrincipal": SignIn(("clientId", "clientSecret", "tenantId")),
    "AccessKey": SignIn(("accessKeyId", "secretAccessKey")),
    "ApiKey": SignIn(("key",)),
    "CustomKeys": SignIn(("keys",)),
    "OAuth2": SignIn(
        ("clientId", "clientSecret"), ("authUrl", "developerToken", "password", "refreshToken", "tenantId", "username")
    ),
    "AAD": SignIn(),
}
UNSERVED_SIGN_INS = (
    "DelegatedSAS", "ProjectManagedIdentity", "AccountManagedIdentity", "UserEntraToken", "AgentUserImpersonation",
    "AgenticIdentityToken", "AgenticUser",
)  # fmt: skip
