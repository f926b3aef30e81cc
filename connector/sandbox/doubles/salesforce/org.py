"""The initial org of the double: each object is a table in the notation of `schema`."""

from connector.sandbox.doubles.salesforce.schema import Field, SObject

_STAMPS = """
CreatedDate datetime readonly
CreatedById ref(User) readonly
LastModifiedDate datetime readonly
LastModifiedById ref(User) readonly
"""
_TABLE = {
    ("Case", "500"): """
        CaseNumber auto(00001000)
        ContactId ref(Contact)
        AccountId ref(Account)
        ParentId ref(Case)
        SuppliedName text(80)
        SuppliedEmail email
        SuppliedPhone phone
        SuppliedCompany text(80)
        Type choice(Problem|Question|Feature Request)
        Status choice!(New|Working|Escalated|Closed|Reopened) =New
        Reason choice(Performance|Breakdown|Equipment|Other)
        Origin choice(Phone|Email|Web|Store)
        Language choice(tr|en_US|de|ar)
        Subject text(255)
        Priority choice!(High|Medium|Low) =Medium
        Description long(32000)
        IsClosed bool readonly
        ClosedDate datetime readonly
        IsEscalated bool
        OwnerId ref(User)
        Comments long(4000)
        Branch__c text(40)
        Branch_City__c text(80)
        Region__c choice(Marmara|Ege|Akdeniz|Karadeniz)
        Branch_Location__c location
        Agent_Code__c text(20)
        Channel__c choice(Call centre|Chat|Branch|Mobile app)
        Product__c text(120)
        Survey_Link__c url
        Order_Number__c text(40)
        Order_Total__c money
        Discount__c percent
        Items__c number
        Reopened_Count__c int
        Purchase_Date__c date
        Promised_At__c datetime
        First_Reply_At__c datetime
        Resolution__c long(8000)
        Resolution_Code__c choice!(Solved|Refunded|Rejected|Duplicate)
        Is_VIP__c bool
        Survey_Allowed__c bool =true
        Survey_Sent__c bool
        NPS__c number
        CSAT__c number
        Last_Survey_At__c datetime
        External_Key__c text(64) unique
        Tracking_Url__c url
        Notify_Email__c email
        Branch_Label__c formula({Branch__c}/{Priority})
    """,
    ("Contact", "003"): """
        Name person
        AccountId ref(Account)
        MailingAddress address
        OtherAddress address
        Phone phone
        MobilePhone phone
        Email email
        Title text(128)
        Department text(80)
        Birthdate date
        LeadSource choice(Web|Phone|Partner|Other)
        Description long(32000)
        HasOptedOutOfEmail bool
        DoNotCall bool
        OwnerId ref(User)
        Language__c choice(tr|en|de|ar)
        Time_Zone__c text(40)
        Segment__c choice!(Gold|Silver|Bronze)
        Loyalty_Number__c text(30) unique
        Last_NPS__c number
        Last_Invited_At__c datetime
    """,
    ("Account", "001"): """
        Name switchable required
        ParentId ref(Account)
        BillingAddress address
        ShippingAddress address
        Phone phone
        Website url
        Industry choice(Retail|Finance|Telecom|Other)
        AnnualRevenue money
        NumberOfEmployees int
        Description long(32000)
        OwnerId ref(User)
        Customer_Since__c date
        Active__c bool =true
        IsPersonAccount bool
        PersonContactId ref(Contact)
        PersonEmail email
        PersonHasOptedOutOfEmail bool
    """,
    ("Opportunity", "006"): """
        Name text(120) required
        AccountId ref(Account)
        StageName choice(Prospecting|Closed Won|Closed Lost)
        Amount money
        OwnerId ref(User)
    """,
    ("OpportunityContactRole", "00K"): """
        OpportunityId ref(Opportunity)
        ContactId ref(Contact)
        Role choice(Decision Maker|Business User|Other)
        IsPrimary bool
    """,
    ("User", "005"): """
        Name person
        Username text(80) required
        Email email required
        IsActive bool =true
        Department text(80)
        TimeZoneSidKey text(40)
    """,
    ("Survey_Response__c", "a0X"): """
        Name auto(SR-00000)
        Pisano_Id__c text(64) unique required
        Case__c ref(Case)
        Contact__c ref(Contact)
        Score__c number
        Email__c email
        Source__c text(80)
        Channel__c choice!(Email|SMS|Web)
        Comment__c long(32000)
        Answered_At__c datetime
        Raw__c long(131072)
    """,
    ("Store_Visit__e", "e00"): """
        CreatedDate datetime readonly
        CreatedById ref(User) readonly
        Store__c text(40) required
        Customer_Name__c text(120)
        Contact__c text(18)
        Email__c email
        Phone__c phone
        Consent__c bool
        Amount__c number
        Visited_At__c datetime
    """,
}


def standard_objects() -> dict[str, SObject]:
    """The objects of the initial org."""
    objects = {}
    for (name, prefix), table in _TABLE.items():
        lines = table.strip().splitlines() + ([] if name.endswith("__e") else _STAMPS.strip().splitlines())
        objects[name] = SObject(name, prefix, tuple(Field.parse(line) for line in lines))
    return objects
